"""Ways to run an attempt of a job: here, as a process of this machine."""
