WITH matched AS (
    SELECT * FROM cloudtrail
    WHERE ("eventName" ILIKE 'Get%' ESCAPE '\' OR "eventName" ILIKE 'List%' ESCAPE '\') AND (lower("errorCode") IN ('accessdenied', 'accessdeniedexception', 'client.unauthorizedoperation', 'unauthorizedoperation', 'vpceaccessdenied')) AND ("userIdentity.accessKeyId" ILIKE 'AKIA%' ESCAPE '\' OR lower("userIdentity.type") IN ('iamuser', 'root')) AND NOT coalesce("userIdentity.accessKeyId" ILIKE 'ASIA%' ESCAPE '\' OR lower("eventCategory") = 'data', false)
),
possible AS (
    SELECT "userIdentity.arn" FROM matched GROUP BY "userIdentity.arn" HAVING count(DISTINCT "awsRegion") >= 5
),
counted AS MATERIALIZED (
    SELECT *, count(DISTINCT "awsRegion") OVER (
        PARTITION BY "userIdentity.arn" ORDER BY "eventTime"
        RANGE BETWEEN INTERVAL 1800 SECONDS PRECEDING AND CURRENT ROW
    ) AS value_count
    FROM matched JOIN possible USING ("userIdentity.arn")
    WHERE "userIdentity.arn" <> '' AND "awsRegion" <> ''
),
crossed AS (
    SELECT * FROM counted WHERE value_count >= 5
),
opened AS (
    SELECT "userIdentity.arn", "eventTime", value_count,
        "eventTime" - INTERVAL 1800 SECONDS > lag("eventTime") OVER (
            PARTITION BY "userIdentity.arn" ORDER BY "eventTime"
        ) AS opens
    FROM crossed
), numbered AS (
    SELECT *, count(*) FILTER (opens) OVER (
        PARTITION BY "userIdentity.arn" ORDER BY "eventTime" RANGE UNBOUNDED PRECEDING
    ) AS alert_number
    FROM opened
), alerts AS (
    SELECT "userIdentity.arn", max(value_count) AS most_values,
        min("eventTime") - INTERVAL 1800 SECONDS AS window_start, max("eventTime") AS window_end
    FROM numbered GROUP BY "userIdentity.arn", alert_number
), behind AS (
    SELECT *,
        concat("awsRegion", ' ', coalesce(nullif("errorCode", ''), 'success'), ': ', count(*) OVER same, ' (',
            strftime(min("eventTime") OVER same, '%Y-%m-%dT%H:%M:%SZ'), ' to ',
            strftime(max("eventTime") OVER same, '%Y-%m-%dT%H:%M:%SZ'), ')') AS outcomes
    FROM alerts JOIN counted USING ("userIdentity.arn")
    WHERE "eventTime" BETWEEN window_start AND window_end
    WINDOW same AS (PARTITION BY "userIdentity.arn", window_start, "awsRegion", coalesce(nullif("errorCode", ''), 'success'))
)
SELECT "userIdentity.arn", most_values AS value_count,
    list_sort(list_distinct(list("awsRegion"))) AS "awsRegion",
    min("eventTime") AS first_seen, max("eventTime") AS last_seen, count(*) AS event_count,
    list_sort(list_distinct(list(outcomes))) AS outcomes,
    list_sort(list_distinct(list(nullif("userIdentity.type", '')))) AS "userIdentity.type",
    list_sort(list_distinct(list(nullif("userIdentity.userName", '')))) AS "userIdentity.userName",
    list_sort(list_distinct(list(nullif("userIdentity.accessKeyId", '')))) AS "userIdentity.accessKeyId",
    list_sort(list_distinct(list(nullif("userIdentity.sessionContext.sessionIssuer.arn", '')))) AS "userIdentity.sessionContext.sessionIssuer.arn",
    list_sort(list_distinct(list(nullif("userIdentity.sessionContext.attributes.mfaAuthenticated", '')))) AS "userIdentity.sessionContext.attributes.mfaAuthenticated",
    list_sort(list_distinct(list(nullif("sourceIPAddress", '')))) AS "sourceIPAddress",
    list_sort(list_distinct(list(nullif("vpcEndpointId", '')))) AS "vpcEndpointId",
    list_sort(list_distinct(list(nullif("userAgent", '')))) AS "userAgent",
    list_sort(list_distinct(list(nullif("eventSource", '')))) AS "eventSource",
    list_sort(list_distinct(list(nullif("eventName", '')))) AS "eventName",
    list_sort(list_distinct(list(nullif("errorCode", '')))) AS "errorCode",
    list_sort(list_distinct(list(nullif("recipientAccountId", '')))) AS "recipientAccountId"
FROM behind
GROUP BY "userIdentity.arn", most_values, window_start
ORDER BY first_seen, "userIdentity.arn";
