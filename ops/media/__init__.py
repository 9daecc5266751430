"""Pictures and clips: our own chunk files, and foreign files, which only a child process opens."""
