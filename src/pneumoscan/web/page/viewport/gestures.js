/** Mouse, wheel and touch on a viewport: drag pans or changes window and level, wheel and pinch zoom, double click fits. */

/** Let a viewport follow wheel, mouse and fingers. */
export function listenForGestures(viewport) {
  const { canvas } = viewport;
  const pointers = new Map();
  canvas.addEventListener("wheel", (event) => wheel(viewport, event), { passive: false });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("dblclick", ({ offsetX, offsetY }) => (viewport.fitted ? viewport.actual(offsetX, offsetY) : viewport.fit()));
  canvas.addEventListener("pointerdown", (event) => press(viewport, pointers, event));
  canvas.addEventListener("pointermove", (event) => move(viewport, pointers, event));
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, ({ pointerId }) => pointers.delete(pointerId));
}

function wheel(viewport, event) {
  event.preventDefault();
  const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
  const steps = Math.max(-3, Math.min(3, (-event.deltaY * lines) / (event.ctrlKey ? 20 : 100)));
  viewport.zoom(steps, event.offsetX, event.offsetY);
}

function press(viewport, pointers, event) {
  viewport.canvas.setPointerCapture(event.pointerId);
  const measures = viewport.measuring && event.button === 0;
  if (measures) viewport.measure(event.offsetX, event.offsetY, true);
  const windows = event.button === 2 || (event.button === 0 && viewport.dragWindows);
  pointers.set(event.pointerId, { x: event.clientX, y: event.clientY, windows, measures });
}

function move(viewport, pointers, event) {
  const before = pointers.get(event.pointerId);
  if (!before) return;
  const [dx, dy] = [event.clientX - before.x, event.clientY - before.y];
  if (pointers.size === 2) pinch(viewport, pointers, event);
  else if (before.measures) viewport.measure(event.offsetX, event.offsetY, false);
  else if (before.windows) viewport.setWindow(viewport.window + dx, viewport.level - dy / 2);
  else viewport.pan(dx, dy);
  Object.assign(before, { x: event.clientX, y: event.clientY });
}

function pinch(viewport, pointers, event) {
  const [first, second] = pointers.values();
  const moving = pointers.get(event.pointerId);
  const still = moving === first ? second : first;
  const length = (x, y) => Math.hypot(x - still.x, y - still.y) || 1;
  const box = viewport.canvas.getBoundingClientRect();
  viewport.pan((event.clientX - moving.x) / 2, (event.clientY - moving.y) / 2);
  const factor = length(event.clientX, event.clientY) / length(moving.x, moving.y);
  viewport.magnify(factor, (event.clientX + still.x) / 2 - box.left, (event.clientY + still.y) / 2 - box.top);
}
