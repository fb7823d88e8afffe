// What Grafana's schema allows in the JSON of a dashboard, and no more than that: the schema alone
// leaves the options of panels open.
import type * as schema from '@grafana/schema'
import type {
  FieldConfig as HeatmapField, Options as HeatmapOptions
} from '@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen'
import type {
  Options as StatOptions
} from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen'
import type {
  FieldConfig as TableField, Options as TableOptions
} from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen'
import type {
  FieldConfig as TimeSeriesField, Options as TimeSeriesOptions
} from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen'

/** In JSON there is the value of a string enumeration, not its name. */
type Json<T> = T extends string ? `${T}` : T extends object ? { [Key in keyof T]: Json<T[Key]> } : T

interface Query extends schema.DataQuery {
  datasource: schema.DataSourceRef
  expr: string
  legendFormat?: string
  format?: 'time_series' | 'table' | 'heatmap'
  instant?: boolean
  range?: boolean
}

interface Panel<Type extends string, Options, Custom>
  extends Omit<schema.Panel, 'type' | 'options' | 'fieldConfig' | 'targets'> {
  type: Type
  title: string
  targets: Query[]
  options: Options
  fieldConfig: Omit<schema.FieldConfigSource, 'defaults'> & {
    defaults: Omit<schema.FieldConfig, 'custom'> & { custom?: Custom }
  }
}

type Panels =
  | schema.RowPanel
  | Panel<'stat', StatOptions, never>
  | Panel<'timeseries', TimeSeriesOptions, TimeSeriesField>
  | Panel<'heatmap', Partial<HeatmapOptions>, HeatmapField>
  | Panel<'table', TableOptions, Partial<TableField>>

export type Dashboard = Json<Omit<schema.Dashboard, 'panels'> & { uid: string, title: string, panels: Panels[] }>
