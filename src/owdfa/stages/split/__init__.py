"""Split: decide what each image is for, so that no group lies in both training and test."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from owdfa.catalog import nearest
from owdfa.checks import duplicates, shortcuts
from owdfa.checks.baseline import file_properties
from owdfa.config import Settings
from owdfa.errors import UserError
from owdfa.protocols import Budget, Classes, classes_of, matches, natural_sort, read_protocol
from owdfa.records.manifest import Manifest
from owdfa.records.rows import first_duplicate, sorted_by_id
from owdfa.records.split import SCHEMA, Basis, Split
from owdfa.stages.split.notes import notes_on_copies, notes_on_protocol
from owdfa.stages.split.published import paper_roles
from owdfa.stages.split.roles import (
    LABELLED,
    TEST,
    UNLABELLED,
    UNUSED,
    VALIDATION,
    Plan,
    assign_roles,
    class_codes,
    earlier_sides,
    groups_of,
    names_of,
)
from owdfa.stages.split.sources import EVERY, resolve_sources

_COLUMNS = tuple(
    dict.fromkeys(("id", "family", "source", "sha256", "error", "phash", *shortcuts.COLUMNS))
)


class SplitOptions(Settings):
    """How to split.

    Attributes:
        protocol: ``"owdfa40/p1"``, or of an own file ``"my.toml/p1"``; see ``owdfa.protocols``.
        known: Names or shell patterns of the known classes; every other class is novel. With
            neither a protocol nor this, all classes are known.
        labelled: Share of a known class's training images that carry a label; None: the protocol's,
            else 0.75.
        test: Share of each class's images to test on; None: the protocol's, else 0.2.
        validation: Share of the labelled images held back.
        rule: ``"group"`` never cuts a group between training and test. ``"paper"`` draws each image
            alone, as the authors' releases do, so that frames of a video are on both sides; where
            the data set itself says what each image is for, as OW-DFA's does, that is what counts.
        seed: Of the draw.
        like: An earlier split. What was trained on there is neither tested on nor held back here,
            and what was held from training stays so: for a run that continues one of that split.
            Shares that are not given are its shares.
    """

    protocol: str | None = None
    known: tuple[str, ...] | None = None
    labelled: float | None = None
    test: float | None = None
    validation: float = 0.0
    rule: Literal["group", "paper"] = "group"
    seed: int = 2025
    like: Path | None = None


def split(manifest: Path, output: Path, *, options: SplitOptions | None = None) -> Split:
    """Split a manifest into labelled, unlabelled, validation, test and unused images.

    A group (video, identity, prompt) is in training or in test as a whole, whatever its classes;
    within a class it is labelled, unlabelled or validation as a whole, since its other images
    would give a hidden label away. Groups that hold copies of one file count as one group. Images
    that nobody labelled are unlabelled; unused when their group is tested on. Images of other
    classes or beyond the budget are unused.
    The outcome depends on the manifest's rows and the options, not on their order or the machine.

    Args:
        manifest: What ``scan`` wrote.
        output: Folder to write; may hold the same split already.
        options: How to split.

    Returns:
        The split, as written.

    Raises:
        UserError: The classes or ratios do not fit the manifest, a known class is too small,
            nothing is left unlabelled, or ``output`` holds another split.

    Example:
        >>> options = SplitOptions(known=("real", "swap-*"), seed=1)
        >>> split(Path("images.parquet"), Path("split"), options=options)  # doctest: +SKIP
    """
    options = _with_earlier(options or SplitOptions())
    images = Manifest.read(manifest, _COLUMNS).usable()
    digest, rows = images.digest(), sorted_by_id(images.table).drop_columns(["error"])
    dataset = images.dataset
    del images  # a third of the memory
    _check_ids(rows, manifest)
    plan = _plan(rows, options, manifest)
    content = duplicates.contents(rows["sha256"])
    duplicates.check_labels(rows["id"], rows["class"], content, output)
    by_group = options.rule == "group"
    if options.like is not None and not by_group:
        raise UserError("split: --like keeps whole groups on their side; leave out --rule paper")
    groups = groups_of(rows, content) if by_group else np.arange(len(rows))
    if by_group:
        roles = assign_roles(rows, plan, groups, _earlier(rows, groups, options.like))
    else:
        roles = paper_roles(rows, plan, groups, dataset, labelled=options.labelled)
    notes = _check_roles(rows, roles, plan, groups, manifest)
    notes += notes_on_protocol(rows, roles, plan)
    notes += notes_on_copies(rows, roles, content, by_group=by_group)
    if shortcut := shortcuts.shortcut_note(rows):
        notes.append(shortcut)
    columns = [rows["id"], names_of(roles), rows["class"], rows["group"], rows["sha256"]]
    basis = Basis(
        manifest=str(manifest.resolve()),
        manifest_digest=digest,
        protocol=options.protocol,
        rule=options.rule,
        seed=options.seed,
        labelled=plan.labelled,
        test=plan.test,
        validation=plan.validation,
    )
    tested, training = roles == TEST, (roles != TEST) & (roles != UNUSED)
    files = file_properties(rows, training, tested, plan.classes.known)
    table = pa.table(columns, schema=SCHEMA)
    made = Split(table, *plan.classes, basis, tuple(notes), files)
    _check_place(output, made)
    made.write(output)
    return made


def _plan(rows: pa.Table, options: SplitOptions, manifest: Path) -> Plan:
    """Settle classes and ratios: the options', else the protocol's, else the defaults."""
    names = natural_sort(pc.unique(rows["class"]).drop_null().to_pylist())
    if not names:
        raise UserError(f"{manifest}: no image has a class; scan a folder or csv that names some")
    if options.protocol is None:
        return _with_ratios(_chosen(options.known, names), Budget(), options)
    if options.known is not None:
        raise UserError("split: a protocol names the known classes; give --protocol or --known")
    protocol = read_protocol(options.protocol)
    own = {"labelled": protocol.labelled, "test": protocol.test}
    unset = {key: value for key, value in own.items() if getattr(options, key) is None}
    classes = classes_of(protocol, names, options.protocol)
    for pattern in protocol.budget.limits:
        if not matches(pattern, names):
            where = f"protocol {options.protocol}: [budget.limits]"
            raise UserError(f"{where}: no class {pattern!r}{nearest(pattern, names)}")
    plan = _with_ratios(classes, protocol.budget, options.model_copy(update=unset))
    sources = resolve_sources(protocol.sources, rows["source"], options.protocol)
    return plan._replace(sources=sources)


def _with_ratios(classes: Classes, budget: Budget, options: SplitOptions) -> Plan:
    labelled = 0.75 if options.labelled is None else options.labelled
    test = 0.2 if options.test is None else options.test
    if not classes.known:
        raise UserError(
            "split: no class is known; name at least one with --known or in the protocol"
        )
    if not 0 < labelled <= 1:
        raise UserError(f"split: labelled is {labelled:g}; it must be above 0 and at most 1")
    if not 0 < test < 1:
        raise UserError(f"split: test is {test:g}; it must lie between 0 and 1")
    if not 0 <= options.validation < 1:
        raise UserError(f"split: validation is {options.validation:g}; it must be 0 or below 1")
    return Plan(classes, budget, labelled, test, options.validation, options.seed)


def _chosen(known: tuple[str, ...] | None, names: list[str]) -> Classes:
    """The classes when there is no protocol."""
    if known is None:
        return Classes(tuple(names), ())
    chosen: dict[str, None] = {}
    for pattern in known:
        found = matches(pattern, names)
        if not found:
            raise UserError(f"--known: no class {pattern!r}{nearest(pattern, names)}")
        chosen.update(dict.fromkeys(found))
    return Classes(tuple(chosen), tuple(name for name in names if name not in chosen))


def _check_roles(
    rows: pa.Table, roles: np.ndarray, plan: Plan, groups: np.ndarray, manifest: Path
) -> list[str]:
    """Raise unless known classes can be learnt and tested; list the novel ones that cannot."""
    classes = class_codes(rows, plan)
    labelled, tested = (
        np.bincount(classes[(roles == role) & (classes >= 0)], minlength=len(plan.names))
        for role in (LABELLED, TEST)
    )
    num_known = len(plan.classes.known)
    for class_ in np.flatnonzero((labelled * tested)[:num_known] == 0)[:1]:
        mine = groups[classes == class_]
        raise UserError(f"{manifest}: {_too_small(plan, int(class_), mine, labelled)}")
    if not (roles == UNLABELLED).any():
        raise UserError(
            f"{manifest}: no image is left unlabelled; name fewer classes with --known, lower "
            "--labelled, or put images that nobody labelled into _unlabelled/"
        )
    if plan.validation > 0 and not (roles == VALIDATION).any():
        raise UserError(f"{manifest}: too few groups to hold any back; leave --validation out")
    untested = num_known + np.flatnonzero(tested[num_known:] == 0)
    return [f"novel class {plan.names[i]!r} has too few groups to be tested on" for i in untested]


def _too_small(plan: Plan, class_: int, groups: np.ndarray, labelled: np.ndarray) -> str:
    """Why a known class cannot be learnt and tested, and what helps."""
    if plan.sources != EVERY:
        role = "tested on" if labelled[class_] else "labelled"
        return (
            f"known class {plan.names[class_]!r} has too few images to be {role} in the sources "
            "that the protocol names for it; leave it out of the known classes, or name more "
            "sources under [sources]"
        )
    return (
        f"known class {plan.names[class_]!r} has too few groups to train and to test on "
        f"({len(groups)} images, {len(np.unique(groups))} groups); add images, leave it out of the "
        "known classes, or draw single images with --rule paper"
    )


def _check_ids(rows: pa.Table, manifest: Path) -> None:
    if not len(rows):
        raise UserError(f"{manifest}: lists no usable image; scan a folder that holds some")
    twice = first_duplicate(rows["id"])
    if twice >= 0:
        name = str(rows["id"][twice])
        raise UserError(f"{manifest}: image {name!r} is listed twice; scan again")


def _with_earlier(options: SplitOptions) -> SplitOptions:
    """The options; shares that are not given are those of the earlier split, if one is named."""
    if options.like is None:
        return options
    basis = Split.read(options.like, ("id", "role")).basis._asdict()
    shares = {"labelled", "test", "validation"} - options.model_fields_set
    return options.model_copy(update={name: basis[name] for name in shares})


def _earlier(rows: pa.Table, groups: np.ndarray, like: Path | None) -> np.ndarray | None:
    """Sides of the groups in an earlier split; None without one."""
    if like is None:
        return None
    return earlier_sides(rows, groups, Split.read(like, ("id", "role")).table)


def _check_place(output: Path, made: Split) -> None:
    """Raise when another split stands where this one is to be written."""
    if output.is_file():
        raise UserError(f"{output}: is a file; choose a folder with -o")
    if not (output / "split.json").exists():
        return
    old = Split.read(output)
    basis = old.basis._replace(manifest=made.basis.manifest)
    moved = replace(
        old, table=made.table, basis=basis, notes=made.notes, file_properties=made.file_properties
    )
    if not old.table.equals(made.table) or moved != made:
        raise UserError(
            f"{output}: holds another split; remove it or choose another folder with -o"
        )
