"""The app that Flower runs: federated averaging of one tensor."""
