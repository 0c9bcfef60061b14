"""What runs jobs: processes of this machine, or Jobs of a Kubernetes cluster."""
