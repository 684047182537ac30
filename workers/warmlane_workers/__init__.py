"""The worker side of warmlane: what runs on a GPU node. Imports `warmlane`, and is never imported by it."""
