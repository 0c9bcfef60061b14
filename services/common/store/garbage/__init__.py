"""What of a store nobody needs: versions without a name, what broken writers left, derived data, caches."""
