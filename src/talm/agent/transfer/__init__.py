"""From the registries into the spool: requests, credentials, retries, partial blobs."""
