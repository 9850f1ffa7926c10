"""Real engines that the generated text runs on."""
