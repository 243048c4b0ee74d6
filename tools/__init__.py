"""What developers run through `make`: the audit, the licences and the SBOM of the service's requirements."""
