"""What Hydra finds of oarlock: the sweeper and the launchers."""
