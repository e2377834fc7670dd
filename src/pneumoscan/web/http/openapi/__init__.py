"""The description of the service for machines, `/openapi.json`."""
