"""The import path of the user's own document; everything is in boltz_client."""
