"""The agents of a spoke: views, actions, policies, with the habits of the real ones."""
