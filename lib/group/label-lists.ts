/** The label values of a series. A value is undefined if the series has no such label. */
export type LabelSet = ReadonlyArray<string | undefined>

/** How many characters of lines are kept. Those of 16 members with 1,000 series have an eighth of it. */
const mostCharacters = 4 * 1024 * 1024

/**
 * Lists of label sets, by the lines that they were read from. From one scrape to the next most of them are the same,
 * and to read them is most of the work. Those are forgotten first that were last needed longest ago.
 */
export class LabelLists {
  readonly #lists = new Map<string, readonly LabelSet[]>()
  #characters = 0

  get (line: string): readonly LabelSet[] | undefined {
    const list = this.#lists.get(line)
    if (list !== undefined) {
      this.#lists.delete(line)
      this.#lists.set(line, list)
    }
    return list
  }

  keep (line: string, list: readonly LabelSet[]): void {
    this.#characters += line.length
    this.#lists.set(line, list)
    for (const oldest of this.#lists.keys()) {
      if (this.#characters <= mostCharacters) break
      this.#characters -= oldest.length
      this.#lists.delete(oldest)
    }
  }
}
