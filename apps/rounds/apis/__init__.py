"""The endpoints of models, versions, rounds and updates. A view makes one call into services or selectors."""
