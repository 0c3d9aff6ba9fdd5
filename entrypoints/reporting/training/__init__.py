"""What costs do while models train (RQ1): curves -> trends and jumps -> sentences."""
