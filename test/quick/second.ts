import { runHalf } from '../helpers/half'

runHalf(1)
