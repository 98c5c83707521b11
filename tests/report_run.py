"""A run folder as the stages before the report leave it, written by hand."""

import hashlib
import json

import numpy as np
import pyarrow as pa

from owdfa.images.store import IDS, StoreBasis, write_notes
from owdfa.records.predictions import SCHEMA as PREDICTED
from owdfa.records.predictions import PredictionMetadata, Predictions
from owdfa.records.provenance import Provenance
from owdfa.records.split import SCHEMA as ROLES
from owdfa.records.split import Basis, Split

HOSTILE = "<script>alert('x')</script>&\"{{ 7 * 7 }}"
KNOWN = ["real", HOSTILE]
NOVEL = ["swap/3", "edit <b>4</b>"]
TYPES = [*KNOWN, "novel-01", "novel-02", "novel-03"]
DIM = 6


def make_run(
    folder,
    *,
    known=KNOWN,
    novel=NOVEL,
    types=TYPES,
    per_class=12,
    size=16,
    seed=0,
    dim=DIM,
    selection="last",
    labelled_novel=True,
    draw=None,
    method="cal",
    absorb=0.25,
    types_found=None,
):
    """Write a run folder by hand, with its store, split, predictions and scores."""
    rng = np.random.default_rng(seed)
    rows, pictures, truth = [], [], {}
    for number, name in enumerate([*known, *novel]):
        for image in range(2 * per_class):
            identity = f"{number:02d}/{'<i>' if number == 1 else ''}{image:04d}.png"
            test = image % 2 == 0 and (number < len(known) or labelled_novel)
            hidden = number >= len(known) and not labelled_novel
            role = "test" if test else "labelled" if number < len(known) else "unlabelled"
            rows.append((identity, role, None if hidden else name, identity, digest_of(identity)))
            truth[identity] = number
            picture = draw(number, image) if draw else rng.integers(0, 256, (size, size, 3))
            pictures.append(np.asarray(picture, np.uint8))
    store = folder.parent / f"{folder.name}-store"
    _write_store(store, [row[0] for row in rows], pictures)
    split = Split(
        pa.Table.from_pylist([dict(zip(ROLES.names, row, strict=True)) for row in rows], ROLES),
        tuple(known),
        tuple(novel) if labelled_novel else (),
        Basis("images.parquet", "ab" * 32, None, "group", 7, 0.75, 0.2, 0.0),
    )
    split.write(folder.parent / f"{folder.name}-split")
    provenance = Provenance(
        method=method, backbone="timm/resnet18", seed=3, selection=selection,
        split_digest=split.digest(), weights_digest="cd" * 32, precision="32-true",
        commit="0123abc", environment={"python": "3.11", "platform": "<Linux>"},
    )  # fmt: skip
    basis = PredictionMetadata(
        run=str(folder), images="split:test", images_digest=split.digest(), classes=tuple(types),
        num_known=len(known), engine="onnxruntime 1.0", provenance=provenance,
        types_found=types_found,
    )  # fmt: skip
    for role in ("test", "unlabelled"):
        ids = split.with_role(role)["id"].to_pylist()
        table = _predict(rng, [(i, truth[i]) for i in ids], basis, dim=dim, absorb=absorb)
        Predictions(table, basis).write(folder / "predictions" / f"{role}.parquet")
        if role == "test":
            scores = _score(table, truth, split, basis)
    write(folder / "scores.json", scores)
    write(folder / "run.json", _note(folder, split, basis))
    (folder / "settings.toml").write_text("epochs = 3\n[method]\nccr_weight = 0.2 # <b>\n")
    lines = [{"kind": "step", **dict.fromkeys(("loss", "ce", "r", "acr", "ccr"), 3.0)}]
    lines += [epoch_record(epoch, 3, len(types)) for epoch in range(3)]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def write(path, value):
    path.write_text(json.dumps(value))


def digest_of(identity):
    return hashlib.sha256(identity.encode()).hexdigest()


def _write_store(folder, ids, pictures):
    folder.mkdir(parents=True)
    np.stack(pictures).tofile(folder / "pixels.bin")
    rows = [{"id": i, "sha256": digest_of(i)} for i in ids]
    basis = StoreBasis(pictures[0].shape[0], "none", "pillow")
    write_notes(folder, pa.Table.from_pylist(rows, IDS), basis, {})


def _predict(rng, pairs, basis, *, dim, absorb):
    centres = np.random.default_rng(5).normal(size=(len(basis.classes), dim))
    rows = []
    for identity, number in pairs:
        index = min(number, len(basis.classes) - 1)
        evidence = _evidence(rng, number, basis) if basis.types_found else {}
        if number >= basis.num_known and rng.random() < absorb:
            index = number % basis.num_known
        confidence = float(rng.uniform(0.4, 1.0))
        rows.append(
            {
                "id": identity,
                "prediction": basis.classes[index],
                "index": index,
                "confidence": confidence,
                "novel": index >= basis.num_known,
                "known_probability": confidence if index < basis.num_known else 1 - confidence,
                "top_index": [index],
                "top_probability": [confidence],
                **evidence,
                "embedding": (
                    0.6 * centres[index]
                    + centres[min(number, len(basis.classes) - 1)]
                    + rng.normal(size=dim) * 0.8
                ).tolist(),
            }
        )
    return pa.Table.from_pylist(rows, PREDICTED)


def _evidence(rng, number, basis):
    """Ratios of known types that are right more often than not."""
    known = number < basis.num_known
    return {
        "log_ratio": float(rng.normal(2, 1)),
        "known_log_ratio": float(rng.normal(2 if known else -2, 1.5)),
        "known_index": number % basis.num_known,
        "unseen_log_ratio": float(rng.normal(-2, 1)),
    }


def _score(table, truth, split, basis):
    names = [*split.known, *split.novel]
    numbers = np.array([truth[i] for i in table["id"].to_pylist()], int)
    index = table["index"].to_numpy()
    columns = sorted(set(index.tolist()))
    counts = [
        [int(((numbers == r) & (index == c)).sum()) for c in columns] for r in range(len(names))
    ]
    novel = numbers >= len(split.known)
    part = {"acc": 0.9123, "nmi": 0.85, "ari": 0.8}
    none = {"acc": 0.0, "nmi": 0.0, "ari": 0.0}
    parts = {"all": part, "known": part, "novel": part if novel.any() else none}
    absorbed = float((index[novel] < len(split.known)).mean()) if novel.any() else 0.0
    confidence = table["confidence"].to_numpy()
    right = numbers == index
    bins = []
    for low in np.arange(0, 1, 0.1):
        inside = (confidence > low) & (confidence <= low + 0.1)
        if inside.any():
            bins.append(
                {"low": float(low), "high": float(low) + 0.1, "count": int(inside.sum()),
                 "confidence": float(confidence[inside].mean()),
                 "accuracy": float(right[inside].mean())}
            )  # fmt: skip
    return {
        "schema": "owdfa/scores/3",
        "run": basis.run, "images": "split:test", "engine": basis.engine,
        "split": {"digest": split.digest(), "rule": "group", "protocol": None, "seed": 7},
        "provenance": basis.provenance.model_dump(),
        "num_images": {
            "all": len(novel), "known": int((~novel).sum()), "novel": int(novel.sum()),
            "without_truth": 0, "not_predicted": 0,
        },
        "intervals": {"level": 0.95, "num_groups": 9, "of": {}}, "macro_acc": 0.9,
        "novel_auroc": 0.8 if novel.any() else None,
        "conventions": {"paper": parts, "gcd-v2": parts},
        "num_classes": {
            "true": len(names), "in_use": len(columns), "active": len(basis.classes)
        },
        "num_novel": {"true": len(split.novel), "discovered": len(split.novel)},
        "novel_given_to_known": absorbed,
        "known_given_to_novel": 0.0,
        "calibration": {
            "mean_confidence": float(confidence.mean()), "accuracy": float(right.mean()),
            "ece": 0.1, "bins": bins,
        },
        "per_class": [
            {"class": name, "novel": row >= len(split.known), "num_images": sum(counts[row]),
             "acc_paper": 0.9, "acc_gcd_v2": 0.8,
             "matched_to": basis.classes[row] if row in columns else None}
            for row, name in enumerate(names) if sum(counts[row])
        ],
        "confusion": {
            "rows": names, "columns": [basis.classes[c] for c in columns], "counts": counts,
        },
        "ratios": {"cllr": 0.34, "right": 24, "wrong": 24, "misled": 0.021}
        if basis.types_found else None,
    }  # fmt: skip


def _note(folder, split, basis):
    return {
        "schema": "owdfa/run/2", "provenance": basis.provenance.model_dump(),
        "known": list(split.known), "classes": "auto", "num_classes": 20,
        "num_active": len(basis.classes),
        "split": str(folder.parent / f"{folder.name}-split"),
        "store": str(folder.parent / f"{folder.name}-store"), "store_size": 16, "faces": "none",
        "image_size": 16, "mean": [0.5] * 3, "std": [0.5] * 3, "device": "cpu",
        "trained_epochs": 3, "complete": True,
    }  # fmt: skip


def epoch_record(epoch, epochs, live):
    fall = np.exp(-3 * epoch / epochs)
    return {
        "kind": "epoch", "epoch": epoch, "loss": 3 * fall + 0.4, "ce": 1.4 * fall, "r": 0.3 * fall,
        "acr": 0.5 * fall if epoch > 1 else 0.0, "ccr": 0.9 * fall,
        "novel_threshold": 0.85 * (1 - fall),
        "num_active": live + round(12 * fall), "labelled_accuracy": 1 - 0.7 * fall,
        "images_per_second": 200.0, "lr": 0.001,
    }  # fmt: skip
