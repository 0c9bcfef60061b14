"""The platform as it is deployed, on one machine: two replicas of everything, and what is done to them."""
