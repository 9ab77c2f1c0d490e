ALTER TABLE ads_freshness COMMENT COLUMN `delay_buckets` 'Spans by logarithmic bucket of delay in ms; read it with spanflow_quantile(q, delay_buckets)';
