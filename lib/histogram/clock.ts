/** The clock as it was when the program began. An application, or a test of it, may put another one in its place. */
const { now } = Date

/** The time, in seconds since 1970. */
export function nowSeconds (): number {
  return now() / 1000
}
