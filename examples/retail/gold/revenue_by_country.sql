-- grain: all
-- All days together, from the model above.
SELECT
    country,
    sum(revenue) AS revenue,
    sum(orders) AS orders,
    count(*) AS days
FROM gold.daily_revenue
GROUP BY country
