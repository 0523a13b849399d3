"""Takes readings over gRPC and keeps them for ever in PostgreSQL."""
