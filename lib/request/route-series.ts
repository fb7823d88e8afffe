/**
 * The value of route labels for a request that matched no route. No declared route has this name, because the name of a
 * route begins with `/` or `*`.
 */
export const unmatchedRoute = 'unmatched'

/**
 * The value that OpenTelemetry's semantic conventions give to an unknown method. Here, an invalid status code has the
 * same value.
 */
export const other = '_OTHER'

export interface RouteDescription {
  /** The value of route labels. */
  readonly label: string
  /** The methods that the handler of requests that match no route tells apart. Undefined for any other route. */
  readonly knownMethods: ReadonlySet<string> | undefined
  /** Whether requests of the route are recorded. */
  readonly recorded: boolean
}

/** What one resolver knows of one route: its label, and the slots into which its requests are recorded. */
export class RouteSeries {
  /** The resolver that knows this about the route. */
  readonly resolver: object
  /** The same route as another resolver knows it. */
  readonly next: RouteSeries | undefined
  readonly label: string
  readonly recorded: boolean
  /** The only methods that are told apart. Undefined: the route is matched, and all are. */
  readonly #knownMethods: ReadonlySet<string> | undefined
  /** The epoch of the series index at which the slots were given out. */
  #epoch: number
  // The slots are found by a linear search: a route has few outcomes and usually one method. An outcome is a status, or
  // the number that `outcomeOf()` makes of it.
  readonly #methods: string[] = []
  readonly #outcomes: number[] = []
  readonly #slots: number[] = []

  constructor (
    resolver: object, next: RouteSeries | undefined, { label, knownMethods, recorded }: RouteDescription, epoch: number
  ) {
    this.resolver = resolver
    this.next = next
    this.label = label
    this.#knownMethods = knownMethods
    this.recorded = recorded
    this.#epoch = epoch
  }

  /** Forgets the slots if they were given out at another epoch and are no longer valid. */
  renew (epoch: number): void {
    if (epoch === this.#epoch) return
    this.#epoch = epoch
    this.#methods.length = this.#outcomes.length = this.#slots.length = 0
  }

  /**
   * The value of method labels. An HTTP/2 client can invent methods. On a request that matches no route, all unknown
   * methods have the same value.
   */
  method (method: string): string {
    // A handler may have put anything in its place.
    if (typeof method !== 'string') return other
    return this.#knownMethods?.has(method) === false ? other : method
  }

  find (method: string, outcome: number): number | undefined {
    for (let index = 0; index < this.#slots.length; index++) {
      if (this.#outcomes[index] === outcome && this.#methods[index] === method) return this.#slots[index]
    }
    return undefined
  }

  add (method: string, outcome: number, slot: number): void {
    this.#methods.push(method)
    this.#outcomes.push(outcome)
    this.#slots.push(slot)
  }
}
