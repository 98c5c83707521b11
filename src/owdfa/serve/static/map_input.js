// What pointers, the wheel and keys do to an embedding map (map.js).

const KEY_STEP = 60; // CSS pixels
const ZOOM_STEP = 1.4;
const CLICK = 4; // a pointer that moved less has not dragged
const LASSO_STEP = 3; // between two corners

/** How a lasso changes the selection: Shift adds, Alt takes away. */
const change = (event) => (event.altKey ? "remove" : event.shiftKey ? "add" : "replace");

/** Listen to a map until the signal is aborted. */
export function listen(map, signal) {
  const canvas = map.surface;
  const on = (name, handler) => canvas.addEventListener(name, handler, { signal, passive: false });
  const pointers = new Map(); // of fingers that are down, or the mouse
  let gesture = null; // { kind: "pan" | "lasso" | "pinch", start, moved, change }

  on("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    if (pointers.size > 1) map.lasso = null;
    const lasso = map.mode === "lasso" || event.shiftKey || event.altKey;
    const kind = pointers.size > 1 ? "pinch" : lasso ? "lasso" : "pan";
    gesture = { kind, start: [event.offsetX, event.offsetY], moved: kind === "pinch", change: change(event) };
    map.hover(-1);
  });

  on("pointermove", (event) => {
    const here = [event.offsetX, event.offsetY];
    const before = pointers.get(event.pointerId);
    if (!before) {
      map.hover(map.nearest(...here), here);
      return;
    }
    gesture.moved ||= Math.hypot(here[0] - gesture.start[0], here[1] - gesture.start[1]) >= CLICK;
    if (!gesture.moved) return;
    if (gesture.kind === "pinch") pinch(event.pointerId, here);
    else if (gesture.kind === "pan") map.pan(here[0] - before[0], here[1] - before[1]);
    else extend(here);
    pointers.set(event.pointerId, here);
  });

  /** Two fingers: what lies between them stays there. */
  function pinch(moving, here) {
    const other = [...pointers].find(([id]) => id !== moving)?.[1];
    if (!other) return;
    const before = pointers.get(moving);
    const apart = ([x, y]) => Math.max(1, Math.hypot(x - other[0], y - other[1]));
    map.pan((here[0] - before[0]) / 2, (here[1] - before[1]) / 2);
    map.zoom(apart(here) / apart(before), (here[0] + other[0]) / 2, (here[1] + other[1]) / 2);
  }

  function extend(here) {
    map.lasso ??= [gesture.start];
    const [x, y] = map.lasso.at(-1);
    if (Math.hypot(here[0] - x, here[1] - y) >= LASSO_STEP) map.lasso.push(here);
    map.drawOver();
  }

  function up(event) {
    if (!pointers.delete(event.pointerId) || pointers.size) return;
    const { kind, moved, start } = gesture;
    gesture = null;
    if (event.type === "pointercancel") map.lasso = null;
    else if (!moved) click(event, start);
    else if (kind === "lasso") map.closeLasso(change(event));
    map.drawOver();
  }

  function click(event, [x, y]) {
    const index = map.nearest(x, y, event.pointerType === "touch" ? 24 : 12);
    if (index < 0) return;
    if (event.shiftKey || event.altKey) map.toggle(index);
    else map.pick(index);
  }

  on("pointerup", up);
  on("pointercancel", up);
  on("pointerleave", () => map.hover(-1));
  on("wheel", (event) => {
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode ? 16 : 1);
    map.zoom(Math.exp(-pixels / 400), event.offsetX, event.offsetY);
  });
  on("focus", () => map.drawOver());
  on("blur", () => map.drawOver());
  on("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    event.stopPropagation(); // the page has keys of its own
    act(map, event.shiftKey ? 4 * KEY_STEP : KEY_STEP);
    map.tell();
  });
}

const atCentre = (map, act) => map.central() >= 0 && act(map.central());
const KEYS = {
  ArrowLeft: (map, step) => map.pan(step, 0),
  ArrowRight: (map, step) => map.pan(-step, 0),
  ArrowUp: (map, step) => map.pan(0, step),
  ArrowDown: (map, step) => map.pan(0, -step),
  "+": (map) => map.zoom(ZOOM_STEP),
  "=": (map) => map.zoom(ZOOM_STEP),
  "-": (map) => map.zoom(1 / ZOOM_STEP),
  0: (map) => map.fit(),
  l: (map) => map.setMode(map.mode === "lasso" ? "pan" : "lasso"),
  Enter: (map) => atCentre(map, (index) => map.pick(index)),
  " ": (map) => atCentre(map, (index) => map.toggle(index)),
  g: (map) => atCentre(map, (index) => map.selectGroup(index)),
  v: (map) => map.selectView(),
  Escape: (map) => map.clear(),
};
