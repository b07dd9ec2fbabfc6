"""Floor 3: durable jobs: a queue with leases, the controller that starts them, the runners that own them."""
