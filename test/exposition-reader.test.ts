import t from 'tap'
import { Exposition } from './helpers/exposition'

const histogram = (lines: string): string => `# HELP h help\n# TYPE h histogram\n${lines}`

t.test('the reader that other tests rely on accepts what is valid', async t => {
  const read = new Exposition(
    '# HELP a one\\\\two\\nthree\n# TYPE a counter\na{x="\\"\\\\\\n,}{",y=""} 1e+06\na -Inf\n' +
    histogram('h_bucket{le="1.0"} 1\nh_bucket{le="+Inf"} 2\nh_sum 3.5\nh_count 2\n'))

  t.equal(read.families.get('a')!.help, 'one\\two\nthree')
  t.equal(read.value('a', { x: '"\\\n,}{', y: '' }), 1e6)
  t.equal(read.value('a'), -Infinity)
  t.equal(read.value('h_bucket', { le: '+Inf' }), 2)
})

t.test('the reader refuses what is not', async t => {
  const bad: Record<string, string> = {
    'no line feed at the end': '# HELP a b\n# TYPE a gauge\na 1',
    'sample without TYPE': 'a 1\n',
    'TYPE without HELP': '# TYPE a gauge\na 1\n',
    'unknown type': '# HELP a b\n# TYPE a info\na 1\n',
    'sample of another family': '# HELP a b\n# TYPE a gauge\nb 1\n',
    'suffix that the type has not': '# HELP a b\n# TYPE a gauge\na_sum 1\n',
    'family twice': '# HELP a b\n# TYPE a gauge\n# HELP a b\n# TYPE a gauge\n',
    'series twice': '# HELP a b\n# TYPE a gauge\na{x="1",y="2"} 1\na{y="2",x="1"} 1\n',
    'label twice': '# HELP a b\n# TYPE a gauge\na{x="1",x="2"} 1\n',
    'unquoted label value': '# HELP a b\n# TYPE a gauge\na{x=1} 1\n',
    'quote that is not escaped': '# HELP a b\n# TYPE a gauge\na{x="1"2"} 1\n',
    'unknown escape': '# HELP a b\n# TYPE a gauge\na{x="\\t"} 1\n',
    'comma at the end': '# HELP a b\n# TYPE a gauge\na{x="1",} 1\n',
    'empty braces': '# HELP a b\n# TYPE a gauge\na{} 1\n',
    'metric name with a dash': '# HELP a b\n# TYPE a gauge\na-b 1\n',
    'value that is no number': '# HELP a b\n# TYPE a gauge\na one\n',
    'no value': '# HELP a b\n# TYPE a gauge\na\n',
    'empty line': '# HELP a b\n# TYPE a gauge\n\na 1\n',
    'bucket without le': histogram('h_bucket 1\nh_sum 1\nh_count 1\n'),
    'no +Inf': histogram('h_bucket{le="1"} 1\nh_sum 1\nh_count 1\n'),
    '+Inf that is not the count': histogram('h_bucket{le="+Inf"} 1\nh_sum 1\nh_count 2\n'),
    'no sum': histogram('h_bucket{le="+Inf"} 1\nh_count 1\n'),
    'counts that decrease': histogram('h_bucket{le="1"} 2\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\n'),
    'bounds that decrease':
      histogram('h_bucket{le="2"} 1\nh_bucket{le="1"} 1\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\n')
  }
  for (const [description, text] of Object.entries(bad)) t.throws(() => new Exposition(text), Error, description)
})
