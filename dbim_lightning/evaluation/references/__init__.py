"""What samples are compared with: statistics of reference images."""
