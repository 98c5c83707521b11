"""Draw a person in a frame: a plain scene of light, before any camera or forgery.

Everything is computed for all pixels at once. Two frames of reference are used: ``u, v`` are
lengths in the head's own plane (the unit is half a face height; ``v`` is -1 at the top of the skull
and 1 at the chin), and ``x, y`` are the same lengths on the face's surface after the head has
turned, so that features painted at fixed ``x, y`` move and foreshorten with yaw and pitch.
"""

from dataclasses import dataclass
from math import cos, sin

import numpy as np

from owdfa.datasets.lab.canvas import Canvas, Head, Plane, bump, edge, step, texture, tone, unit
from owdfa.datasets.lab.people import Frame, Person


@dataclass(frozen=True)
class Scene:
    """A drawn frame: pixels (3, H, W) float32 in [0, 1], and where the head is."""

    pixels: np.ndarray
    head: Head


def draw_scene(person: Person, frame: Frame, size: int) -> Scene:
    """Draw ``person`` as ``frame`` shows them: ``size`` x ``size`` pixels."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) * (2.0 / size) - 1.0
    across, down = np.meshgrid(axis, axis)
    head = _place_head(person, frame, across, down)
    canvas = Canvas(_background(person, frame, across, down))
    _draw_body(canvas, head, person)
    _draw_clothes(*canvas.within(head, head.v > 0.2), person)
    _draw_skin(*canvas.within(head, head.outline < 0.1), person)
    _draw_features(canvas, person, frame, head)
    _draw_hair(*canvas.within(head, (head.outline < 0.55) & (head.v < 0.75)), person)
    if person.glasses:
        _draw_glasses(*canvas.within(head, np.abs(head.y - person.eye_height) < 0.3), person)
    canvas.pixels *= (frame.tint * frame.exposure).reshape(3, 1, 1)
    return Scene(unit(canvas.pixels), head)


def _place_head(person: Person, frame: Frame, across: Plane, down: Plane) -> Head:
    """Lay the head's coordinates over the image."""
    cos_roll, sin_roll = cos(frame.roll), sin(frame.roll)
    right, below = across - frame.centre[0], down - frame.centre[1]
    u = np.asarray((cos_roll * right + sin_roll * below) / frame.scale, np.float32)
    v = np.asarray((cos_roll * below - sin_roll * right) / frame.scale, np.float32)
    half = person.width * (1.0 - person.jaw * np.clip(v, 0.0, 1.1) ** 2)
    radius = np.hypot(u / half, v) + 1e-6
    shrink = 1.0 / np.maximum(radius, 1.0)
    nx, ny = u / half * shrink, v * shrink
    nz = np.sqrt(np.maximum(1.0 - nx**2 - ny**2, 0.0))
    yaw, pitch = frame.yaw, frame.pitch
    x = nx * cos(yaw) - nz * sin(yaw)
    depth = nx * sin(yaw) + nz * cos(yaw)
    y = ny * cos(pitch) - depth * sin(pitch)
    depth = ny * sin(pitch) + depth * cos(pitch)
    return Head(
        u=u,
        v=v,
        x=x * person.width,
        y=y,
        outline=(radius - 1.0) * person.width,
        front=step(depth, 0.05, 0.3),
        light=_lighting(frame, (nx, ny, nz)),
        pixel=2.0 / across.shape[0] / frame.scale,
    )


def _background(person: Person, frame: Frame, across: Plane, down: Plane) -> np.ndarray:
    """A wall that fades from one colour to another, with furniture out of focus."""
    top, bottom = (colour.reshape(3, 1, 1) for colour in person.wall)
    fade = unit((down + 0.4 * across + 1.4) / 2.8)
    canvas = Canvas(top + fade * (bottom - top))
    for x, y, width, height, softness, *colour in person.furniture.tolist():
        beyond = np.maximum(
            np.abs(across - x - frame.pan[0]) - width, np.abs(down - y - frame.pan[1]) - height
        )
        canvas.lay(tuple(colour), 0.8 * step(-beyond, -softness, softness))
    canvas.shade(np.full(across.shape, 0.55 + 0.45 * frame.ambient, np.float32))
    return canvas.pixels


def _lighting(frame: Frame, normal: tuple[Plane, Plane, Plane]) -> Plane:
    """Light on a surface whose normal points to the right, down and towards the viewer."""
    towards = sum(n * part for n, part in zip(normal, frame.light, strict=True))
    light: Plane = frame.ambient + (1.1 - frame.ambient) * np.maximum(towards, 0.0)
    return light


def _draw_body(canvas: Canvas, head: Head, person: Person) -> None:
    """Long hair behind the head, and ears."""
    u, v, pixel = head.u, head.v, head.pixel
    if person.hair_length > 0.3:
        fall = np.clip(v + 0.2, 0.0, None)
        reach = person.width + person.hair_volume
        sides = np.abs(u) - reach - 0.06 * np.sin(2.5 * fall)
        behind = np.maximum(np.maximum(sides, v - person.hair_length - 0.2), -v - 0.3)
        strands = 1.0 + 0.35 * texture(person, u * 5.0, v * 0.6)
        canvas.lay(tone(person.hair, 0.62 * strands), edge(behind, max(pixel, 0.03)))
    ears = np.hypot((np.abs(u) - person.width * 0.99) / 0.09, (v - 0.05) / 0.2) - 1.0
    canvas.lay(tone(person.skin, 0.86 * head.light), edge(ears * 0.1, pixel))


def _draw_clothes(canvas: Canvas, head: Head, person: Person) -> None:
    """Neck and shoulders."""
    u, v, pixel = head.u, head.v, head.pixel
    neck = np.abs(u) - person.neck - 0.12 * unit(v - 1.0)
    dim = 0.5 + 0.3 * unit(1.6 - np.abs(v - 1.6))
    canvas.lay(tone(person.skin, dim), edge(np.maximum(neck, 0.3 - v), pixel))
    slope = 1.38 + 0.35 * np.clip(np.abs(u) - person.neck, 0.0, 2.0) ** 1.4
    collar = np.where(np.abs(u) < person.neck, 0.2 * (1.0 - np.abs(u) / person.neck), 0.0)
    folds = 0.8 + 0.12 * np.sin(3.0 * u + 4.0 * v) + 0.08 * texture(person, u * 2.0, v * 2.0)
    canvas.lay(tone(person.cloth, folds), edge(slope + collar - v, pixel))


def _draw_skin(canvas: Canvas, head: Head, person: Person) -> None:
    """The face's surface with its light, cheeks, sockets, freckles and beard."""
    x, y = head.x, head.y
    grain = texture(person, x * 3.0, y * 3.0)
    cheeks = bump(np.abs(x) - 0.36, y - 0.3, 0.2)
    colour = tone(person.skin, 1.0 + 0.03 * grain)
    colour *= 1.0 - np.array((0.0, 0.084, 0.072), np.float32).reshape(3, 1, 1) * cheeks
    beside, level = np.abs(x) - person.eye_distance, y - person.eye_height + 0.05
    sockets = bump(beside, level * 1.3, 0.16)
    rim = 1.0 - 0.25 * unit(1.0 + head.outline * 4.0) ** 2
    shadow = head.light * rim * (1.0 - 0.16 * sockets * head.front)
    warm = np.array((0.1, -0.05, -0.12), np.float32).reshape(3, 1, 1)  # shadows on skin are red
    inside = edge(head.outline, head.pixel)
    canvas.lay(colour * (shadow * (1.0 + warm * (1.0 - shadow))), inside)
    within = inside * head.front
    if person.freckles:
        spots = step(texture(person, x * 9.0, y * 9.0), 0.75, 1.2) * bump(x, y - 0.2, 0.38)
        canvas.lay(person.skin * 0.62, 0.5 * person.freckles * spots * within)
    if person.beard:
        chin = step(y + 0.55 * np.abs(x), 0.52, 0.8) * (1.0 - 0.7 * bump(x, y - 0.56, 0.14))
        stubble = unit(0.75 + 0.4 * texture(person, x * 14.0, y * 14.0))
        canvas.lay(person.hair * 0.8, person.beard * chin * stubble * within)


def _draw_features(canvas: Canvas, person: Person, frame: Frame, head: Head) -> None:
    """Nose, mouth and eyes, each on the part of the image that it can reach."""
    x, y, front = head.x, head.y, head.front > 0.0
    centre = front & (np.abs(x) < 0.5)
    _draw_nose(*canvas.within(head, centre & (np.abs(y - 0.15) < 0.55)), person, frame)
    _draw_mouth(*canvas.within(head, centre & (np.abs(y - 0.62) < 0.4)), person, frame)
    level = front & (np.abs(y - person.eye_height + 0.1) < 0.35)
    for side in (-1.0, 1.0):
        near = level & (np.abs(x - side * person.eye_distance) < 0.26)
        _draw_eye(*canvas.within(head, near), person, frame, side)


def _draw_nose(canvas: Canvas, head: Head, person: Person, frame: Frame) -> None:
    """Ridge, tip and nostrils, from the light on them."""
    x, y, width = head.x, head.y, person.nose_width
    base = person.eye_height + person.nose_length
    along = unit((y - person.eye_height) / person.nose_length)
    on = step(y, person.eye_height - 0.1, base) * step(-y, -base - 0.06, -base + 0.02)
    flank = (0.35 + 0.65 * along) * width
    side = x / flank
    slope = -side * np.exp(-1.4 * side**2)
    turned = -frame.light[0] + 0.35 * sin(frame.yaw)
    canvas.shade(1.0 + on * head.front * (0.42 * turned * slope + 0.07 * np.exp(-6.0 * side**2)))
    under = bump(x * 0.75, (y - base - 0.05) * 1.6, width * 0.62)
    canvas.shade(1.0 - 0.32 * under * head.front)
    shine = bump(x + 0.03 * frame.light[0], y - base + 0.07, 0.045)
    canvas.lay((1.0, 0.97, 0.93), 0.22 * shine * head.front)
    for left in (-1.0, 1.0):
        away = np.hypot((x - left * width * 0.52) / 0.046, (y - base - 0.005) / 0.024) - 1.0
        canvas.lay(person.skin * 0.3, 0.75 * edge(away * 0.03, head.pixel) * head.front)


def _draw_mouth(canvas: Canvas, head: Head, person: Person, frame: Frame) -> None:
    """Lips, and teeth between them when the mouth is open."""
    x, y, pixel = head.x, head.y, head.pixel
    width = person.mouth_width * (1.0 + 0.14 * frame.smile)
    across = np.clip(x / width, -1.0, 1.0)
    arch = np.sqrt(1.0 - across**2)
    line = person.mouth_height - 0.07 * frame.smile * (across**2 - 0.3)
    gap = frame.mouth_open * arch
    bow = arch * (1.0 - 0.25 * np.exp(-((across * 6.0) ** 2)))
    upper = line - 0.4 * gap - person.lip_fullness * bow
    lower = line + 0.6 * gap + person.lip_fullness * 1.25 * arch
    beyond = np.abs(x) - width
    lips = np.maximum(np.maximum(upper - y, y - lower), beyond)
    light = 1.0 - 0.18 * step(line - y, -0.01, 0.01) + 0.1 * bump(x, y - lower + 0.04, 0.07)
    canvas.shade(1.0 - 0.14 * bump(x * 0.55, y - lower - 0.06, 0.06) * head.front)
    soft = max(pixel, 0.02)
    canvas.lay(tone(person.lips, light), 0.9 * edge(lips, soft) * head.front)
    seam = np.maximum(np.abs(y - line) - 0.008, beyond)
    canvas.lay(person.lips * 0.4, 0.8 * edge(seam, soft) * head.front)
    if frame.mouth_open > 0.0:
        inside = np.maximum(line - 0.4 * gap - y, y - line - 0.6 * gap)
        canvas.lay((0.16, 0.06, 0.06), edge(np.maximum(inside, beyond), pixel) * head.front)
        teeth = np.maximum(inside, y - line + 0.4 * gap - 0.045) + 0.006
        canvas.lay((0.86, 0.83, 0.78), edge(np.maximum(teeth, beyond), pixel) * head.front)


def _draw_eye(canvas: Canvas, head: Head, person: Person, frame: Frame, side: float) -> None:
    """One eye with lid and brow; ``side`` is -1 for the viewer's left and 1 for the right."""
    pixel, size = head.pixel, person.eye_size
    x = (head.x - side * person.eye_distance) * side
    y = head.y - person.eye_height + person.eye_tilt * 0.5 * x
    across = np.clip(x / size, -1.0, 1.0)
    arch = 1.0 - across**2
    top, bottom = -0.46 * size * frame.eyes_open * arch, 0.34 * size * arch
    beyond = np.abs(x) - size
    opening = np.maximum(np.maximum(top - y, y - bottom), beyond)
    seen = edge(opening, pixel) * head.front
    canvas.lay((0.83, 0.81, 0.79), seen)
    gaze_x, gaze_y = frame.gaze[0] * size * 0.6 * side, frame.gaze[1] * size * 0.5
    away = np.hypot(x - gaze_x, y - gaze_y)
    ring = 1.0 - 0.5 * step(away, size * 0.3, size * 0.48)
    canvas.lay(tone(person.iris, ring), seen * edge(away - size * 0.46, pixel))
    canvas.lay((0.03, 0.03, 0.03), seen * edge(away - size * 0.2, pixel))
    glint = np.hypot(x - gaze_x + side * 0.025, y - gaze_y + 0.025)
    canvas.lay((1.0, 1.0, 1.0), 0.85 * seen * edge(glint - 0.016, pixel))
    canvas.shade(1.0 - 0.35 * seen * step(-(y - top), -0.05, 0.0))
    lash = np.maximum(np.abs(y - top + 0.008) - 0.014, beyond - 0.015)
    canvas.lay((0.08, 0.06, 0.05), 0.85 * edge(lash, pixel) * head.front)
    crease = np.maximum(np.abs(y - top * 1.25 + 0.05) - 0.008, beyond)
    canvas.lay(person.skin * 0.5, 0.4 * edge(crease, max(pixel, 0.02)) * head.front)
    lift = person.brow_height + frame.brow_raise
    along = (x + 0.02) / (size * 1.45)
    curve = -lift - 0.05 * (1.0 - along**2) + 0.02 * along
    thick = person.brow_weight * (1.0 - 0.55 * np.clip(along, -1.0, 1.0)) * 0.8
    brow = np.maximum(np.abs(y - curve) - thick, np.abs(x + 0.02) - size * 1.4)
    hairs = unit(0.8 + 0.3 * texture(person, head.x * 12.0, head.y * 4.0))
    canvas.lay(person.hair * 0.75, hairs * edge(brow, max(pixel, 0.025)) * head.front)


def _draw_hair(canvas: Canvas, head: Head, person: Person) -> None:
    """Hair over the skull, down to the hairline."""
    cap = np.hypot(head.u / (person.width + person.hair_volume * 0.55), (head.v + 0.02)) - 1.0
    cap = np.minimum(cap - person.hair_volume * 0.7, 0.5)
    parted = np.abs(head.x - person.parting * 0.5)
    line = person.hairline + 0.62 * unit(np.abs(head.x) - 0.28) ** 1.2 + 0.1 * parted
    temples = np.clip(person.hair_length, 0.0, 0.6)
    low = head.outline > -0.09
    line = np.where(low, np.maximum(line, temples - 0.35), line)
    ragged = 0.05 * texture(person, head.x * 7.0, head.x * 3.0)
    hair = np.maximum(cap, np.where(head.outline > 0.02, head.v - temples, head.y - line + ragged))
    strands = texture(person, head.x * 7.0 + head.v, head.y * 1.1)
    gloss = 0.75 + 0.35 * bump(head.x + 0.15, head.y + 0.75, 0.3) + 0.28 * strands
    colour = tone(person.hair, gloss * (0.45 + 0.6 * head.light))
    canvas.lay(colour, edge(hair, max(head.pixel, 0.03)))


def _draw_glasses(canvas: Canvas, head: Head, person: Person) -> None:
    """Round frames and the bridge between them."""
    x, y = np.abs(head.x), head.y - person.eye_height - 0.01
    ring = np.abs(np.hypot(x - person.eye_distance, y * 1.1) - 0.215) - 0.013
    bridge = np.maximum(np.abs(y + 0.03) - 0.013, x - person.eye_distance + 0.2)
    canvas.lay((0.1, 0.09, 0.09), 0.9 * edge(np.minimum(ring, bridge), head.pixel) * head.front)
