WITH matched AS (
    SELECT * FROM cloudtrail
    WHERE (lower("eventSource") = 'bedrock.amazonaws.com' AND (lower("eventName") IN ('converse', 'conversestream', 'createmodelinvocationjob', 'invokeagent', 'invokeflow', 'invokeinlineagent', 'invokemodel', 'invokemodelwithbidirectionalstream', 'invokemodelwithresponsestream', 'rerank', 'retrieveandgenerate', 'retrieveandgeneratestream', 'startasyncinvoke')) OR (lower("eventSource") IN ('aws-external-anthropic.amazonaws.com', 'bedrock-mantle.amazonaws.com')) AND lower("eventName") = 'createinference') AND "userIdentity.accessKeyId" ILIKE 'ASIA%' ESCAPE '\' AND NOT coalesce(lower("userIdentity.type") IN ('iamuser', 'root') OR "additionalEventData.callWithBearerToken" = 'true' OR "requestParameters.callWithBearerToken" = 'true' OR lower("eventType") = 'awsserviceevent', false)
),
possible AS (
    SELECT "userIdentity.sessionContext.sessionIssuer.arn", "sourceIPAddress" FROM matched GROUP BY "userIdentity.sessionContext.sessionIssuer.arn", "sourceIPAddress" HAVING count(DISTINCT "awsRegion") >= 3
),
counted AS MATERIALIZED (
    SELECT *, count(DISTINCT "awsRegion") OVER (
        PARTITION BY "userIdentity.sessionContext.sessionIssuer.arn", "sourceIPAddress" ORDER BY "eventTime"
        RANGE BETWEEN INTERVAL 1800 SECONDS PRECEDING AND CURRENT ROW
    ) AS value_count
    FROM matched JOIN possible USING ("userIdentity.sessionContext.sessionIssuer.arn", "sourceIPAddress")
    WHERE "userIdentity.sessionContext.sessionIssuer.arn" <> '' AND "sourceIPAddress" <> '' AND "awsRegion" <> ''
),
crossed AS (
    SELECT * FROM counted WHERE value_count >= 3
),
opened AS (
    SELECT "userIdentity.sessionContext.sessionIssuer.arn", "sourceIPAddress", "eventTime", value_count,
        "eventTime" - INTERVAL 1800 SECONDS > lag("eventTime") OVER (
            PARTITION BY "userIdentity.sessionContext.sessionIssuer.arn", "sourceIPAddress" ORDER BY "eventTime"
        ) AS opens
    FROM crossed
), numbered AS (
    SELECT *, count(*) FILTER (opens) OVER (
        PARTITION BY "userIdentity.sessionContext.sessionIssuer.arn", "sourceIPAddress" ORDER BY "eventTime" RANGE UNBOUNDED PRECEDING
    ) AS alert_number
    FROM opened
), alerts AS (
    SELECT "userIdentity.sessionContext.sessionIssuer.arn", "sourceIPAddress", max(value_count) AS most_values,
        min("eventTime") - INTERVAL 1800 SECONDS AS window_start, max("eventTime") AS window_end
    FROM numbered GROUP BY "userIdentity.sessionContext.sessionIssuer.arn", "sourceIPAddress", alert_number
), behind AS (
    SELECT *,
        concat("awsRegion", ' ', coalesce(nullif("errorCode", ''), 'success'), ': ', count(*) OVER same, ' (',
            strftime(min("eventTime") OVER same, '%Y-%m-%dT%H:%M:%SZ'), ' to ',
            strftime(max("eventTime") OVER same, '%Y-%m-%dT%H:%M:%SZ'), ')') AS outcomes
    FROM alerts JOIN counted USING ("userIdentity.sessionContext.sessionIssuer.arn", "sourceIPAddress")
    WHERE "eventTime" BETWEEN window_start AND window_end
    WINDOW same AS (PARTITION BY "userIdentity.sessionContext.sessionIssuer.arn", "sourceIPAddress", window_start, "awsRegion", coalesce(nullif("errorCode", ''), 'success'))
)
SELECT "userIdentity.sessionContext.sessionIssuer.arn", "sourceIPAddress", most_values AS value_count,
    list_sort(list_distinct(list("awsRegion"))) AS "awsRegion",
    min("eventTime") AS first_seen, max("eventTime") AS last_seen, count(*) AS event_count,
    list_sort(list_distinct(list(outcomes))) AS outcomes,
    list_sort(list_distinct(list(nullif("userIdentity.arn", '')))) AS "userIdentity.arn",
    list_sort(list_distinct(list(nullif("userIdentity.type", '')))) AS "userIdentity.type",
    list_sort(list_distinct(list(nullif("userIdentity.userName", '')))) AS "userIdentity.userName",
    list_sort(list_distinct(list(nullif("userIdentity.accessKeyId", '')))) AS "userIdentity.accessKeyId",
    list_sort(list_distinct(list(nullif("userIdentity.sessionContext.attributes.mfaAuthenticated", '')))) AS "userIdentity.sessionContext.attributes.mfaAuthenticated",
    list_sort(list_distinct(list(nullif("vpcEndpointId", '')))) AS "vpcEndpointId",
    list_sort(list_distinct(list(nullif("userAgent", '')))) AS "userAgent",
    list_sort(list_distinct(list(nullif("eventSource", '')))) AS "eventSource",
    list_sort(list_distinct(list(nullif("eventName", '')))) AS "eventName",
    list_sort(list_distinct(list(nullif("errorCode", '')))) AS "errorCode",
    list_sort(list_distinct(list(nullif("recipientAccountId", '')))) AS "recipientAccountId",
    list_sort(list_distinct(list(nullif("requestParameters.modelId", '')))) AS "requestParameters.modelId",
    list_sort(list_distinct(list(nullif("resources.ARN", '')))) AS "resources.ARN",
    list_sort(list_distinct(list(nullif("additionalEventData.callWithBearerToken", '')))) AS "additionalEventData.callWithBearerToken",
    list_sort(list_distinct(list(nullif("additionalEventData.inferenceRegion", '')))) AS "additionalEventData.inferenceRegion",
    list_sort(list_distinct(list(nullif("additionalEventData.inputTokens", '')))) AS "additionalEventData.inputTokens",
    list_sort(list_distinct(list(nullif("additionalEventData.outputTokens", '')))) AS "additionalEventData.outputTokens"
FROM behind
GROUP BY "userIdentity.sessionContext.sessionIssuer.arn", "sourceIPAddress", most_values, window_start
ORDER BY first_seen, "userIdentity.sessionContext.sessionIssuer.arn", "sourceIPAddress";
