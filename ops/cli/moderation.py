"""`reelbus moderation list|set|unset`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.connection import Place, connected
from ops.cli.output import data_json, paper, say
from ops.cli.quotas import AsJson, Tenant, check_tenant

if TYPE_CHECKING:
    from schemas.prompt_rules import CategoryRule


class Severity(StrEnum):
    """Severities of the policy's packs; policy: as the policy says."""

    low = "low"
    medium = "medium"
    high = "high"
    policy = "policy"


class ReviewSeverity(StrEnum):
    """The same, of what a person is asked about; never: of no term."""

    low = "low"
    medium = "medium"
    high = "high"
    never = "never"
    policy = "policy"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="What is refused in tenants' texts.", no_args_is_help=True)
    group.command("list")(connected(list_rules))
    group.command("set")(connected(set_one))
    group.command("unset")(connected(unset))
    app.add_typer(group, name="moderation")


def list_rules(place: Place, as_json: AsJson = False) -> None:
    """List the rules that tenants have of their own."""
    from ops.prompt_rules import all_rules
    from ops.view.prompt_rules import listed

    found = all_rules(place.settings)
    for rules in found.values() if as_json else ():
        data_json(rules)
    if not as_json:
        paper().print(listed(list(found.values())))


def set_one(
    place: Place,
    tenant: Tenant,
    term: Annotated[
        list[str] | None,
        typer.Option(help="A word or phrase to refuse, * at its end for all endings; may be repeated."),
    ] = None,
    terms: Annotated[
        Path | None, typer.Option(metavar="FILE", help="All terms anew, one a line; # begins a comment.")
    ] = None,
    refuse_from: Annotated[
        Severity | None, typer.Option(help="Terms of the policy of this severity and above refuse.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Probability from which meaning refuses; 1: never, 0: as the policy says."),
    ] = None,
    category: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SEVERITY[:THRESHOLD]",
            help="For one category: low, medium, high, never or nothing; may be repeated. NAME= forgets it.",
        ),
    ] = None,
    review_terms_from: Annotated[
        ReviewSeverity | None,
        typer.Option(help="Terms of this severity and above, where they do not refuse, are left to a person."),
    ] = None,
    review_from: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Probability from which a person is asked; 1: never, 0: as the policy says."),
    ] = None,
    review_category: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SEVERITY[:PROBABILITY]",
            help="The same two for one category; may be repeated. NAME= forgets it.",
        ),
    ] = None,
) -> None:
    """Change what is refused in a tenant's texts or left to a person, from now on; what is not given stays. No stage is
    restarted."""
    from msgspec.structs import replace

    from ops.prompt_rules import all_rules, set_rules
    from schemas.prompt_rules import PromptRules

    check_tenant(tenant)
    rules = all_rules(place.settings).get(tenant, PromptRules(tenant=tenant))
    if terms is not None:
        rules = replace(rules, terms=_terms(terms))
    if term:
        rules = replace(rules, terms=tuple(dict.fromkeys((*rules.terms, *term))))
    if refuse_from is not None:
        rules = replace(rules, refuse_from="" if refuse_from is Severity.policy else refuse_from.value)
    if threshold is not None:
        rules = replace(rules, threshold=threshold)
    if review_terms_from is not None:
        new = "" if review_terms_from is ReviewSeverity.policy else review_terms_from.value
        rules = replace(rules, review_terms_from=new)
    if review_from is not None:
        rules = replace(rules, review_from=review_from)
    for given in category or ():
        rules = replace(rules, categories=_with(rules.categories, given, "--category", "refuse_from", "threshold"))
    for given in review_category or ():
        fields = "--review-category", "review_terms_from", "review_from"
        rules = replace(rules, categories=_with(rules.categories, given, *fields))
    changes = term, terms, refuse_from, threshold, category, review_terms_from, review_from, review_category
    if all(one is None for one in changes):
        raise typer.BadParameter("nothing to set; give at least one option, e.g. --term 'rival brand'")
    _check(rules)
    data_json(set_rules(place.settings, rules))
    say(f"the rules of {tenant} hold from now on; next: reelbus moderation list")


def unset(place: Place, tenant: Tenant) -> None:
    """Take a tenant's own rules away: those of everybody hold again. With *: the policy alone."""
    from ops.prompt_rules import unset_rules

    check_tenant(tenant)
    unset_rules(place.settings, tenant)
    say(f"{tenant} has no rules of its own any more")


def _terms(file: Path) -> tuple[str, ...]:
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise typer.BadParameter(f"--terms: cannot read {file}: {exc}") from None
    found = (line.partition("#")[0].strip() for line in lines)
    return tuple(dict.fromkeys(line for line in found if line))


def _with(
    rules: "tuple[CategoryRule, ...]", given: str, option: str, severity_field: str, number_field: str
) -> "tuple[CategoryRule, ...]":
    """The rules of categories with these two fields of one of them set anew; one that says nothing more is left out."""
    import msgspec

    from schemas.prompt_rules import CategoryRule

    name, _, bounds = given.partition("=")
    severity, _, number = bounds.partition(":")
    known = next((msgspec.to_builtins(rule) for rule in rules if rule.category == name), {"category": name})
    try:
        new = msgspec.convert({**known, severity_field: severity, number_field: float(number or 0)}, CategoryRule)
    except (ValueError, msgspec.ValidationError) as exc:
        right = "expected NAME=SEVERITY[:NUMBER], e.g. violence=high:0.9"
        raise typer.BadParameter(f"{option}: found {given[:80]!r}; {right} ({exc})") from None
    others = tuple(rule for rule in rules if rule.category != name)
    return others if new == CategoryRule(category=new.category) else (*others, new)


def _check(rules: object) -> None:
    """Raises BadParameter for what moderate would pass over."""
    import msgspec

    from ops.prompt_policy.bounds import Bound, Bounds
    from ops.prompt_policy.own_rules import compiled
    from ops.prompt_policy.pack import CATEGORIES
    from schemas.errors import InvalidMessage
    from schemas.prompt_rules import PromptRules

    try:
        made = msgspec.convert(msgspec.to_builtins(rules), PromptRules)
        compiled(made, Bounds(dict.fromkeys(CATEGORIES, Bound(1, 0.5)), 1.0), made.tenant)
    except (InvalidMessage, msgspec.ValidationError) as exc:
        raise typer.BadParameter(str(exc)) from None
