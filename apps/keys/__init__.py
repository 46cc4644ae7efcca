"""THE KEYS: the key store, and the mesh's own signing and encryption keys. Lowest of the apps that store anything."""
