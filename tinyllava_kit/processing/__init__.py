"""The processor: conversations to batches."""
