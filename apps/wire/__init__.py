"""What every view needs to speak the wire protocol: canonical JSON, bounds on bodies, OpenAPI. Knows no model."""
