/** Films come in: dropped anywhere, pasted, or chosen; folders are walked. */

import { byId } from "../dom.js";

/** Call `take` with `[{file, path}, …]` whenever files come in. */
export function listenForFiles(take) {
  const [overlay, chooser] = [byId("drop-overlay"), byId("chooser")];
  const carries = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  let depth = 0;
  const lift = (change) => {
    depth = change === 0 ? 0 : Math.max(0, depth + change);
    overlay.hidden = depth === 0;
  };
  addEventListener("dragenter", (event) => carries(event) && lift(1));
  addEventListener("dragleave", (event) => carries(event) && lift(-1));
  addEventListener("dragover", (event) => {
    if (carries(event)) event.preventDefault();
  });
  addEventListener("drop", async (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    lift(0);
    take(await filesOf(event.dataTransfer));
  });
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    take(files.map((file) => ({ file, path: file.name })));
  });
  for (const input of [chooser, byId("verdict-chooser")]) {
    input.addEventListener("change", () => {
      take([...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name })));
      input.value = "";
    });
  }
  for (const button of document.querySelectorAll("[data-choose]")) button.addEventListener("click", () => chooser.click());
}

async function filesOf(transfer) {
  // The list is emptied once this event is over: take what is there before anything is awaited.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const plain = [...transfer.files].map((file) => ({ file, path: file.name }));
  if (!entries.some((entry) => entry.isDirectory)) return plain;
  const found = [];
  for (const entry of entries) await walk(entry, found);
  return found;
}

async function walk(entry, found) {
  if (entry.isFile) {
    const file = await new Promise((done) => entry.file(done, () => done(null)));
    // Hidden files of file managers are no films.
    if (file && !file.name.startsWith(".")) found.push({ file, path: entry.fullPath.replace(/^\//, "") });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((done) => reader.readEntries(done, () => done([])));
    if (!some.length) return;
    for (const inner of some) await walk(inner, found);
  }
}
