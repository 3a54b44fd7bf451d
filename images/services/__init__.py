"""What listens on this machine: started, found again, and stopped."""
