"""The rules for licences: of the models that come from elsewhere, and of the packages."""

from collections.abc import Iterator, Sequence
from typing import Any

from pipelines.config.gate import GateConfig
from pipelines.contracts.package_licences import NOT_STATED
from pipelines.contracts.report import Check
from pipelines.system.locked_packages import Package

MAX_PACKAGES = 5  # in a verdict


def check_models(config: GateConfig, licences: dict[str, str | None]) -> Check:
    """`licences`: of each model that was not made here; None: not stated."""
    allowed = {name.lower() for name in config.licences}
    names = {model: licence or NOT_STATED for model, licence in licences.items()}
    descriptions = [f"{model}: {name}" for model, name in names.items()]
    return Check(
        name="licences are allowed",
        passed=allowed.issuperset(name.lower() for name in names.values()),
        observed=", ".join(descriptions) or "none",
        expected=f"each one of {', '.join(config.licences)}",
    )


def check_packages(config: GateConfig, packages: Sequence[Package]) -> Check:
    """Each package needs a licence on the list, or an exception under its name."""
    refusals = list(_refusals(config, packages))
    more = f" and {len(refusals) - MAX_PACKAGES} more" if len(refusals) > MAX_PACKAGES else ""
    observation = f"{len(packages)} packages"
    if refusals:
        observation = f"not allowed: {', '.join(refusals[:MAX_PACKAGES])}{more}"
    return Check(
        name="licences of packages are allowed",
        passed=bool(packages) and not refusals,
        observed=observation,
        expected="each one of gate.package_licences, or in gate.package_exceptions",
        remedy="Replace the package; or, if your lawyers agree, add its licence to "
        "gate.package_licences in params.yaml, or its name with the reason to "
        "gate.package_exceptions",
    )


def _refusals(config: GateConfig, packages: Sequence[Package]) -> Iterator[str]:
    names = {name.lower() for name in config.package_licences}
    for package in packages:
        if package.name in config.package_exceptions:
            continue
        if package.licence is None or not is_allowed(package.licence, names):
            yield f"{package.key} ({package.licence or NOT_STATED})"


def is_allowed(expression: str, names: set[str]) -> bool:
    """Whether an SPDX expression is allowed if the licences of these names, in lower case, are.

    Of `A OR B` one is enough, of `A AND B` both are needed. An exception (`A WITH B`) permits more
    than the licence alone, so that the licence is enough.
    """
    from license_expression import Licensing

    return _holds(Licensing().parse(expression), names)


def _holds(part: Any, names: set[str]) -> bool:
    from license_expression import AND, OR, LicenseWithExceptionSymbol

    if isinstance(part, AND):
        return all(_holds(operand, names) for operand in part.args)
    if isinstance(part, OR):
        return any(_holds(operand, names) for operand in part.args)
    if isinstance(part, LicenseWithExceptionSymbol):
        return part.license_symbol.key.lower() in names
    return bool(part.key.lower() in names)
