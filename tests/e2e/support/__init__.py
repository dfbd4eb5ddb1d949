"""What the tests stand on: engines, programs, clients and bounded waiting."""
