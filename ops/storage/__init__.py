"""The object store: one interface over a local directory and S3. Objects are put once, and verified when read."""
