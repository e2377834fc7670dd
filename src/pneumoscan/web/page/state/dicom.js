/** What the page shows of a DICOM header: patient, date, pixel spacing. The page reads it itself; answers of the service never have it. */

const LONG = new Set(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"]);
const SETS = { 13: "shift_jis", 100: "latin1", 101: "iso-8859-2", 109: "iso-8859-3", 110: "iso-8859-4", 126: "iso-8859-7", 127: "iso-8859-6", 138: "iso-8859-8", 144: "iso-8859-5", 148: "iso-8859-9", 166: "windows-874", 192: "utf-8", 87: "iso-2022-jp", 149: "euc-kr", 58: "gb18030" };
const WANTED = { 0x00080005: "set", 0x00080020: "date", 0x00100010: "name", 0x00100020: "id", 0x00100030: "born", 0x00100040: "sex", 0x00181164: "detector", 0x00280030: "spacing" };
const LAST = 0x00280030;
const ITEM = 0xfffee000;
const ITEM_END = 0xfffee00d;
const END = 0xfffee0dd;
const OPEN = 0xffffffff;

/**
 * Return what the header of a DICOM file tells; null for any other file, and for one that is compressed as a whole.
 *
 * @returns {{name, id, born, sex, date: string, spacing: [number, number]|null, atDetector: boolean}|null} texts empty where the header
 *     has none; dates as `2026-01-05`; the spacing of rows and of columns in mm
 */
export function headerOf(buffer) {
  try {
    return told(read(new DataView(buffer)));
  } catch {
    return null;
  }
}

function read(view) {
  if (view.getUint32(128) !== 0x4449434d) throw new RangeError("no DICOM file");
  const meta = { view, little: true, implicit: false };
  let at = 132;
  let syntax = "1.2.840.10008.1.2";
  while (view.getUint16(at, true) === 2) {
    const element = elementAt(meta, at);
    if (element.tag === 0x00020010) syntax = latin(view, element);
    at = element.end;
  }
  if (syntax === "1.2.840.10008.1.2.1.99") throw new RangeError("compressed as a whole");
  const coding = { view, little: syntax !== "1.2.840.10008.1.2.2", implicit: syntax === "1.2.840.10008.1.2" };
  const found = {};
  while (at + 8 <= view.byteLength) {
    const element = elementAt(coding, at);
    if (element.tag > LAST) break;
    if (WANTED[element.tag]) found[WANTED[element.tag]] = new Uint8Array(view.buffer, element.start, element.end - element.start);
    at = element.end;
  }
  return found;
}

function elementAt(coding, at) {
  const { view, little, implicit } = coding;
  const tag = view.getUint16(at, little) * 0x10000 + view.getUint16(at + 2, little);
  let start = at + 8;
  let length;
  if (implicit || tag >= ITEM) length = view.getUint32(at + 4, little);
  else if (LONG.has(String.fromCharCode(view.getUint8(at + 4), view.getUint8(at + 5)))) {
    length = view.getUint32(at + 8, little);
    start = at + 12;
  } else length = view.getUint16(at + 6, little);
  return { tag, start, end: length === OPEN ? endOf(coding, start, tag === ITEM ? ITEM_END : END) : start + length };
}

/** Return where a sequence or item of undefined length ends. */
function endOf(coding, at, last) {
  for (;;) {
    const element = elementAt(coding, at);
    at = element.end;
    if (element.tag === last) return at;
  }
}

function latin(view, { start, end }) {
  return String.fromCharCode(...new Uint8Array(view.buffer, start, end - start)).replace(/[\0 ]+$/, "");
}

function told(found) {
  const plain = (name) => (found[name] ? new TextDecoder("latin1").decode(found[name]).replace(/[\0 ]+$/, "").trim() : "");
  const sets = plain("set").split("\\").map((name) => SETS[/(\d+)$/.exec(name)?.[1]] ?? (/GB18030|GBK/.test(name) ? "gb18030" : ""));
  const decoder = new TextDecoder(sets.filter(Boolean).at(-1) ?? "utf-8");
  const text = (name) => (found[name] ? decoder.decode(found[name]).replace(/[\0 ]+$/, "").trim() : "");
  const spacing = (name) => {
    const values = plain(name).split("\\").map(Number);
    return values.length === 2 && values.every((value) => value > 0 && value < 100) ? values : null;
  };
  const atDetector = !spacing("spacing");
  return {
    name: text("name").split("=")[0].replaceAll("^", " ").replace(/ +/g, " ").trim(),
    id: text("id"),
    born: dateOf(plain("born")),
    sex: plain("sex"),
    date: dateOf(plain("date")),
    spacing: spacing("spacing") ?? spacing("detector"),
    atDetector,
  };
}

function dateOf(text) {
  return /^\d{8}$/.test(text) ? `${text.slice(0, 4)}-${text.slice(4, 6)}-${text.slice(6)}` : "";
}

/** Say who and when in one line; empty where nothing is known. */
export function patientInWords(header) {
  return header ? [header.name, header.id && `ID ${header.id}`, header.date].filter(Boolean).join(" · ") : "";
}

/** Return the latest earlier film of the same patient among these that were read; null if there is none. */
export function previousOf(film, films) {
  const { id, date } = film?.header ?? {};
  if (!id || !date) return null;
  const earlier = films.filter((one) => one.state === "read" && one.header?.id === id && one.header.date && one.header.date < date);
  return earlier.sort((a, b) => (a.header.date < b.header.date ? 1 : -1))[0] ?? null;
}

/** Say how long a line between two places (shares of the film) is: in mm where the header tells the spacing, else in pixels. */
export function lengthInWords({ row, header }, [[x, y], [toX, toY]]) {
  const [across, down] = [(toX - x) * row.width, (toY - y) * row.height];
  const spacing = header?.spacing;
  if (!spacing) return `${Math.hypot(across, down).toFixed(0)} pixels`;
  return `${Math.hypot(across * spacing[1], down * spacing[0]).toFixed(1)} mm${header.atDetector ? " at the detector" : ""}`;
}
