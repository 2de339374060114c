"""Read S3 objects in parallel, straight into numpy and torch memory."""
