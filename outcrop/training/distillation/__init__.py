"""Learning from a teacher: what it says of every token, and how far a student is from that"""
