"""Looking into a model: every number behind an answer, why it came out so, and how the signal flows through time."""

from recurra.look.looking import ENDINGS, Look, look

__all__ = ["ENDINGS", "Look", "look"]
