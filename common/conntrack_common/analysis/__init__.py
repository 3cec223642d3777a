"""Pure functions from model to model: nothing here reads the system or knows an agent."""
