-- grain: day
-- What came in on each day by country, in pounds: sales less what was returned or cancelled.
SELECT
    event_date,
    Country AS country,
    sum(Quantity * UnitPrice) AS revenue,
    count(DISTINCT InvoiceNo) AS orders
FROM silver.sales
GROUP BY event_date, Country
