"""The base of every configuration: frozen, checked by type, refusing what it does not know."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from recurra.errors import ModelError, UsageError


class Config(BaseModel):
    """A frozen record of settings. Unknown names and wrong types are refused, so a misspelt option cannot pass.

    `later` names settings that came after models had been written without them: where they have their defaults they are
    left out of what is written, so such a model keeps its content hash.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    later: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        return {
            name: value
            for name, value in write(self).items()
            if name not in self.later or getattr(self, name) != fields[name].default
        }

    @classmethod
    def from_user(cls, **values: Any) -> Self:
        """Build from what a person gave; raises `UsageError` naming the first wrong setting."""
        try:
            return cls(**values)
        except ValidationError as error:
            name, got, expected = first_problem(error)
            raise UsageError(f"Setting '{name}' is wrong", got=got, expected=expected) from error

    @classmethod
    def from_file(cls, values: Any, where: str) -> Self:
        """Build from what stood in a file; raises `ModelError` naming the file and the first wrong setting."""
        try:
            return cls.model_validate(values, strict=False)
        except ValidationError as error:
            name, got, expected = first_problem(error)
            raise ModelError(f"{where}: setting '{name}' is wrong", got=got, expected=expected) from error


def first_problem(error: ValidationError) -> tuple[str, str, str]:
    """(setting, what came, what was expected) of the first problem pydantic names."""
    problem = error.errors()[0]
    name = ".".join(str(part) for part in problem["loc"]) or "the whole"
    return name, repr(problem["input"])[:80], problem["msg"][:1].lower() + problem["msg"][1:]
