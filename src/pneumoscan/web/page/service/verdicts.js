/** Verdicts go to the file of `serve --verdicts`, one after the other; one that is sent twice is kept once. */

import { addVerdict, describeVerdicts, NoAnswer } from "./client.js";

const AGAIN = 3000;

/** Keeps the verdicts; `file` is its name, null where the page alone keeps them; `problem` tells why some are not kept yet. */
export class VerdictKeeper {
  constructor(store) {
    this.store = store;
    this.file = null;
    this.problem = "";
    this.sending = false;
  }

  /** Take in what the file holds. */
  async begin() {
    let kept;
    try {
      kept = await describeVerdicts();
    } catch (problem) {
      this.#failed(problem, () => this.begin());
      return;
    }
    const { file, verdicts } = kept;
    this.file = file;
    this.problem = "";
    for (const record of verdicts) this.store.verdicts.add(record, true);
    const readers = new Set(verdicts.map((record) => record.reader));
    if (readers.size === 1 && !this.store.verdicts.own.size) this.store.verdicts.rename([...readers][0]);
    this.store.changed();
    this.send();
  }

  /** Send what is in no file yet. */
  async send() {
    const { verdicts } = this.store;
    if (this.file === null || this.sending) return;
    this.sending = true;
    clearTimeout(this.timer);
    try {
      for (const id of verdicts.unsaved) {
        await addVerdict(verdicts.byId.get(id));
        verdicts.unsaved.delete(id);
      }
      this.problem = "";
    } catch (problem) {
      this.#failed(problem, () => this.send());
    } finally {
      this.sending = false;
      this.store.changed();
    }
  }

  #failed(problem, again) {
    this.problem = problem instanceof NoAnswer ? "The program does not answer; it is asked again." : `${problem.message} ${problem.remedy ?? ""}`;
    this.timer = setTimeout(again, AGAIN);
    this.store.changed();
  }
}
