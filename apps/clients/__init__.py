"""WHO: clients, their keys, how they enrol, how they prove who they are, and how they leave."""
