"""The engine: which models are in memory, and how waiting rows become batches on the device."""
