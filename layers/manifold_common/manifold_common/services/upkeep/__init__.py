"""What nobody asks for and somebody has to do: background work, health, what an installation is."""
