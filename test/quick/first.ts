import { runPart } from '../helpers/part'

runPart(0)
