/** The route of a request that matched none. No declared route can be called so, since they begin with `/` or `*`. */
export const unmatchedRoute = 'unmatched'

/** What OpenTelemetry's semantic conventions call a method that is not a known one. */
const otherMethod = '_OTHER'

/** The methods of RFC 9110 section 9, PATCH (RFC 5789), and QUERY. */
const knownMethods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH', 'QUERY'])

export interface RouteDescription {
  /** The value of labels that tell the route. */
  readonly label: string
  /** False for the handler of requests that match no route. */
  readonly matched: boolean
  /** Whether its requests are recorded. */
  readonly recorded: boolean
}

/** What one resolver knows of one route: its label, and the slots in which its requests are recorded. */
export class RouteSeries {
  /** The resolver that knows this. */
  readonly resolver: object
  /** The same route, as another resolver knows it. */
  readonly next: RouteSeries | undefined
  readonly label: string
  readonly recorded: boolean
  readonly #matched: boolean
  /** The epoch of the series index in which the slots were given out. */
  #epoch: number
  // The slots are found by a linear search. A route has few outcomes and, unless it was declared for many, one method. An outcome is a
  // status, or what `outcomeOf()` makes of it.
  readonly #methods: string[] = []
  readonly #outcomes: number[] = []
  readonly #slots: number[] = []

  constructor (resolver: object, next: RouteSeries | undefined, { label, matched, recorded }: RouteDescription, epoch: number) {
    this.resolver = resolver
    this.next = next
    this.label = label
    this.#matched = matched
    this.recorded = recorded
    this.#epoch = epoch
  }

  /** Forgets the slots, if those that were given out before this epoch are no longer valid. */
  renew (epoch: number): void {
    if (epoch === this.#epoch) return
    this.#epoch = epoch
    this.#methods.length = this.#outcomes.length = this.#slots.length = 0
  }

  /** The value of labels that tell the method. HTTP/2 lets a client invent methods; those that no route declares are all the same. */
  method (method: string): string {
    return this.#matched || knownMethods.has(method) ? method : otherMethod
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
